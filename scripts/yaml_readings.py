"""What PyYAML, with which Prefect's agents read their documents, makes of bare words and numbers.

Writes src/config/yaml/readings.json: [[text, kind, value], ...]. Run it in any environment that has PyYAML.
"""
import datetime
import itertools
import json
import pathlib
import random

import yaml

ALPHABET = "018_.:e+-xo"
WORDS = [
    *(form(word) for word in ("yes", "no", "on", "off", "true", "false", "null", "y", "n")
      for form in (str.lower, str.capitalize, str.upper)),
    "yES", "tRUE", "~", "=", "<<", "none", "None", "nan", "inf", ".inf", "-.inf", "+.Inf", ".INF", ".nan", ".NaN", ".NAN", "-.nan",
    "0123", "0777", "-0123", "0o17", "0O17", "0x1F", "-0x1f", "0X1F", "0b101", "-0b11", "0b12", "0x", "0b", "08", "09", "00", "007",
    "1_000", "1_000.5", "_1", "1_", "0x_f", "1:30", "12:30:45", "-1:30", "1:60", "22:22", "8080:80", "1:30.5", "190:20:30.15",
    "1e3", "1.0e3", "1.0e+3", "1.5E-3", "1e+3", ".5", "+.5", "-.5", "5.", "+5", "-5", "-0", "+0", "0.0", "-0.0", "1.10", "0.15", "3.8",
    "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "123456789012345678901234567890",
    "1.0e+400", "0.1", "2026-11-30", "2026-1-1", "2026-11-30T12:00:00Z", "2026-11-30 12:00:00", "2012-10-17", "20261130",
    "FARGATE", "awsvpc", "subnet-0123", "arn:aws:iam::123456789012:role/x", "256", "512", "1024", "1.5 GB", "256 .", "a:b", "1.2.3",
]


def candidates():
    for length in (1, 2, 3):
        yield from ("".join(letters) for letters in itertools.product(ALPHABET, repeat=length))
    yield from WORDS
    chance = random.Random(28)
    for _ in range(600):
        yield "".join(chance.choice("0123456789_.:eE+-xob") for _ in range(chance.randint(4, 9)))


def reading(text):
    """Kind and value; None for what is no bare scalar where a value stands."""
    try:
        (_, node), = yaml.compose(f"v: {text}\n").value
    except (yaml.YAMLError, ValueError, AttributeError):
        return None
    if not isinstance(node, yaml.ScalarNode) or node.value != text or node.style is not None:
        return None
    try:
        value = yaml.safe_load(f"v: {text}\n")["v"]
    except (yaml.YAMLError, ValueError, KeyError):
        # It is taken for something that it then cannot be read as.
        return "other", None
    match value:
        case None:
            return "null", None
        case bool():
            return "bool", value
        case int():
            return "int", str(value)
        case float():
            return "float", repr(value)
        case str():
            return "text", None
        case datetime.date():
            return "other", None
        case _:
            return "other", None


def main():
    rows = {text: found for text in candidates() if (found := reading(text))}
    path = pathlib.Path(__file__).parent.parent / "src/config/yaml/readings.json"
    lines = ",\n".join(json.dumps([text, *found]) for text, found in rows.items())
    path.write_text(f"[\n{lines}\n]\n")
    print(f"{len(rows)} readings by PyYAML {yaml.__version__}")


if __name__ == "__main__":
    main()
