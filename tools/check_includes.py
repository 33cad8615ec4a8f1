#!/usr/bin/env python3
"""Checks that headers include the standard headers, and Eigen's, of the names that they use, themselves.

    check_includes.py INCLUDE_DIR    exit status 1 and one line per violation
    check_includes.py --self-test    feeds itself headers that violate the rule

A header that leans on another one's includes compiles until that one changes, or elsewhere not at all.
"""
import pathlib
import re
import tempfile

import header_checker

# Standard header: the names that come from it, as far as the library uses them.
NAMES = {
    "algorithm": "adjacent_find all_of any_of clamp copy copy_n count count_if equal fill fill_n find find_if is_sorted "
                 "lower_bound max max_element min min_element minmax_element none_of nth_element partial_sort partition "
                 "remove_if reverse rotate sort stable_partition stable_sort swap_ranges transform unique upper_bound",
    "array": "array",
    "atomic": "atomic memory_order_relaxed",
    "chrono": "chrono",
    "cmath": "abs ceil copysign cos erf exp exp2 floor fma frexp hypot isfinite isinf isnan ldexp log log2 lrint lround "
             "nearbyint pow round sin sqrt trunc",
    "cstddef": "byte max_align_t nullptr_t ptrdiff_t size_t",
    "cstdint": "int16_t int32_t int64_t int8_t uint16_t uint32_t uint64_t uint8_t uintptr_t",
    "cstdio": "FILE fclose ferror fopen fprintf fputs fread fwrite printf remove rename snprintf",
    "cstdlib": "abort free getenv strtol",
    "cstring": "memchr memcmp memcpy memmove memset",
    "exception": "current_exception exception exception_ptr rethrow_exception",
    "functional": "function greater hash less plus",
    "initializer_list": "initializer_list",
    "iosfwd": "basic_ostream",
    "iterator": "advance back_inserter make_move_iterator next prev",
    "limits": "numeric_limits",
    "locale": "locale",
    "map": "map",
    "memory": "addressof make_shared make_unique shared_ptr unique_ptr",
    "mutex": "lock_guard mutex",
    "new": "align_val_t bad_alloc",
    "numeric": "accumulate gcd inner_product iota",
    "optional": "nullopt optional",
    "ostream": "ostream",
    "sstream": "istringstream ostringstream stringstream",
    "stdexcept": "invalid_argument length_error logic_error out_of_range overflow_error runtime_error",
    "string": "string to_string",
    "string_view": "string_view",
    "system_error": "error_code generic_category system_error",
    "tuple": "apply make_tuple tie tuple",
    "type_traits": "add_const_t conditional_t decay_t enable_if enable_if_t false_type integral_constant invoke_result_t "
                   "is_const is_const_v is_convertible_v is_enum_v is_floating_point_v is_integral_v is_same is_same_v "
                   "is_trivially_copyable_v is_void_v remove_const_t remove_cv_t remove_pointer_t remove_reference_t "
                   "true_type underlying_type_t void_t",
    "utility": "declval exchange forward in_place in_place_type index_sequence integer_sequence make_index_sequence "
               "make_integer_sequence make_pair move pair swap",
    "variant": "get_if holds_alternative monostate variant visit",
    "vector": "vector",
}
HEADER_OF = {name: header for header, names in NAMES.items() for name in names.split()}
# From several headers: tuple's get.
AMBIGUOUS = {"get"}


def violations_in(text):
    included = set(re.findall(r"^\s*#\s*include\s*<([^>]+)>", text, re.M))
    code = re.sub(r'"(\\.|[^"\\\n])*"', '""', re.sub(r"//.*", "", text))
    for name in sorted(set(re.findall(r"\bstd::(\w+)", code)) - AMBIGUOUS):
        if name not in HEADER_OF:
            yield f"std::{name}: tools/check_includes.py does not know its header"
        elif HEADER_OF[name] not in included:
            yield f"std::{name} needs #include <{HEADER_OF[name]}>"
    if re.search(r"\bEigen::", code) and not any(header.startswith("Eigen/") for header in included):
        yield "Eigen:: needs an #include <Eigen/...>"


def violations(include_dir):
    for path in sorted(pathlib.Path(include_dir).rglob("*.hpp")):
        for problem in violations_in(path.read_text(encoding="utf-8")):
            yield f"{path}: {problem}"


def self_test():
    cases = {
        "#include <vector>\nstd::vector<int> v;": 0,
        "std::vector<int> v;": 1,
        "// a std::vector is not used here\n": 0,
        'const char* text = "std::vector";': 0,
        "#include <algorithm>\nint a = std::max(1, 2);\nstd::size_t n;": 1,
        "std::no_such_name x;": 1,
        "Eigen::MatrixXf m;": 1,
        "#include <Eigen/Core>\nEigen::MatrixXf m;": 0,
        "# include <string>\nstd::string s; std::string t;": 0,
    }
    for text, expected in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "a.hpp").write_text(text, encoding="utf-8")
            found = list(violations(folder))
        assert len(found) == expected, (text, found)
    print(f"self-test: {len(cases)} headers: as expected")


if __name__ == "__main__":
    header_checker.main(__doc__, violations, self_test)
