"""What `heedful serve` takes and answers, as OpenAPI."""

import dataclasses
import typing
from typing import Any

from pydantic import TypeAdapter

from heedful.data.inputs import InputKind
from heedful.tasks.contract import Task
from heedful.training.settings import Section


def openapi(task: Task[Any]) -> dict[str, Any]:
    """An OpenAPI 3.1 document, whose schemas are those of JSON Schema."""
    error = _json({"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]})
    refusals = {
        "400": "the body is no JSON",
        "408": "the body came too slowly",
        "413": "the body, or the list of inputs, is too long",
        "415": "the Content-Type is not application/json",
        "422": "a field, an input or an option is not what it must be",
        "503": "too many inputs wait, or the server shuts down; Retry-After says for how long",
    }
    answers = {status: {"description": words, "content": error} for status, words in refusals.items()}
    predictions = {
        "type": "object",
        "properties": {"predictions": {"type": "array", "items": _prediction(task)}},
        "required": ["predictions"],
    }
    health = {"type": "object", "properties": {"status": {"enum": ["ready", "stopping"]}}, "required": ["status"]}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"heedful: {task.name}", "version": "1", "description": task.describe()},
        "paths": {
            "/predict": {
                "post": {
                    "summary": "Predictions for inputs, in their order",
                    "requestBody": {"required": True, "content": _json(_request(task))},
                    "responses": {"200": {"description": "the predictions", "content": _json(predictions)}, **answers},
                }
            },
            "/health": {"get": {"responses": {"200": {"description": "it takes requests", "content": _json(health)}}}},
            "/schema": {"get": {"responses": {"200": {"description": "this document", "content": _json({})}}}},
        },
    }


def path_options(options: type[Section]) -> list[str]:
    """The options that name files, which whoever sends a request must not have opened."""
    fields = options.model_fields.items()
    return [
        name for name, one in fields if isinstance(one.json_schema_extra, dict) and one.json_schema_extra.get("path")
    ]


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _request(task: Task[Any]) -> dict[str, Any]:
    options = type(task).Options.model_json_schema()
    for name in path_options(type(task).Options):
        del options["properties"][name]
    fields = {"inputs": {"type": "array", "items": _input(task), "minItems": 1}, "options": options}
    required = ["inputs"]
    if task.input is InputKind.NONE:
        del fields["inputs"]
        required = []
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def _input(task: Task[Any]) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string"}
    if task.input in (InputKind.TEXT, InputKind.HISTORY):
        return {"anyOf": [text, {"type": "array", "items": text}]} if task.lists else text
    return text | {"contentEncoding": "base64", "description": f"the bytes of a file: {task.input}"}


def _prediction(task: Task[Any]) -> dict[str, Any]:
    """What `predict` says that it returns: a list of a dataclass; where it says less, an object whose first field is `input`."""
    kind: Any = task.prediction or next(
        iter(typing.get_args(typing.get_type_hints(type(task).predict).get("return"))), None
    )
    if not dataclasses.is_dataclass(kind):
        return {"type": "object", "properties": {"input": {}}, "required": ["input"]}
    schema = TypeAdapter(kind).json_schema(mode="serialization")
    for field in dataclasses.fields(kind):
        json = field.metadata.get("json", True)
        if not json:
            del schema["properties"][field.name]
        if json is not True and field.name in schema["required"]:
            schema["required"].remove(field.name)
    return schema
