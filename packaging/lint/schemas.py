#!/usr/bin/env python3
"""Validates documents against JSON Schemas with python3-jsonschema, which shares no code with what made the schemas.

Reads {"schemas": {NAME: SCHEMA}, "documents": [{"schema": NAME, "document": ANYTHING}]} from standard input and writes a
list with the first violation of each document, or null, to standard output. Many documents in one call: starting Python
costs more than validating.
"""

import json
import sys

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match


def violation(validator, document):
    error = best_match(validator.iter_errors(document))
    if error is None:
        return None
    return f"${''.join(f'.{key}' if isinstance(key, str) else f'[{key}]' for key in error.absolute_path)}: {error.message}"


def main():
    work = json.load(sys.stdin)
    for schema in work["schemas"].values():
        Draft202012Validator.check_schema(schema)
    validators = {name: Draft202012Validator(schema) for name, schema in work["schemas"].items()}
    json.dump([violation(validators[it["schema"]], it["document"]) for it in work["documents"]], sys.stdout)


if __name__ == "__main__":
    main()
