// The translation unit that precompiled.hpp is built with; CMake includes that header by itself.
