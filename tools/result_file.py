"""Files of results: JSON with every element of a list on a line of its own, numbers as exact as they were measured."""
import json


def rounded(value):
    """Five digits of what was measured; counts stay."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, list):
        return [rounded(v) for v in value]
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    return value


def text_of(document):
    def lines(value):
        if not isinstance(value, list) or not value:
            return json.dumps(value)
        return "[\n" + ",\n".join(json.dumps(v) for v in value) + "\n]"
    parts = [f"{json.dumps(key)}: {lines(value)}" for key, value in rounded(document).items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def write(path, document):
    """document: an object of lists and of what describes them."""
    path.write_text(text_of(document), encoding="utf-8")
