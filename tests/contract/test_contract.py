"""The contract keeps its promises: one envelope, one definition of each model, fresh generated code, a linted schema."""

from __future__ import annotations

import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType

import pydantic
import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

import common.models as models
from common.errors import MallaError
from common.settings import DESCRIPTORS, REPOSITORY

BIN = Path(sys.executable).parent
ENVELOPE = {"success": 1, "message": 2, "data": 3, "metadata": 4, "error": 5}
INTERNAL = (
    "InternalEmbeddingResponse",
    "InternalIndexResponse",
    "InternalIngestionResponse",
    "InternalQueryResponse",
    "InternalRerankResponse",
    "InternalSearchResponse",
)

DESCRIPTOR_SET = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
POOL = descriptor_pool.DescriptorPool()
for file in DESCRIPTOR_SET.file:
    POOL.Add(file)  # type: ignore[no-untyped-call]


def own_files() -> list[descriptor_pb2.FileDescriptorProto]:
    return [file for file in DESCRIPTOR_SET.file if file.package.startswith("malla.")]


def own_messages() -> Iterator[Descriptor]:
    for file in own_files():
        for message in file.message_type:
            yield POOL.FindMessageTypeByName(f"{file.package}.{message.name}")


def is_detail(message: Descriptor) -> bool:
    return message.file.name == "malla/common/v1/errors.proto"


MODELLED = {m.name: m for m in own_messages() if not m.name.endswith("Request") and not is_detail(m)}
# Doubles that are no counts: a sum of tokens is whole, and a double only to be a number in JSON beyond 32 bits.
FRACTIONS = {"cost"}
METHODS = [(f, s, m) for f in own_files() for s in f.service for m in s.method]


@pytest.mark.parametrize("name", INTERNAL)
def test_every_internal_response_is_the_standard_envelope(name: str) -> None:
    message = MODELLED[name]
    assert {field.name: field.number for field in message.fields} == ENVELOPE
    assert message.fields_by_name["error"].message_type.full_name == "malla.common.v1.Error"
    assert message.fields_by_name["data"].message_type.name == name.removesuffix("Response") + "Data"


def test_no_internal_response_is_forgotten() -> None:
    internal = {m.output_type.rpartition(".")[2] for _, s, m in METHODS if s.name.startswith("Internal")}
    assert internal == set(INTERNAL)


@pytest.mark.parametrize("name", sorted(MODELLED))
def test_each_message_has_its_python_view(name: str) -> None:
    model = getattr(models, name)
    assert issubclass(model, models.BaseModel)
    assert set(model.model_fields) == {field.name for field in MODELLED[name].fields}
    for field in MODELLED[name].fields:
        assert kind_of_field(field) == kind_of_annotation(model.model_fields[field.name].annotation), field.full_name


def test_no_model_is_without_a_message() -> None:
    bases = {"BaseModel", "BaseResponse", "InternalResponse"}
    exported = {n for n in models.__all__ if issubclass(getattr(models, n), pydantic.BaseModel)}
    assert exported - bases == set(MODELLED)


def test_public_responses_extend_base_response() -> None:
    for _, service, method in METHODS:
        name = method.output_type.rpartition(".")[2]
        if not service.name.startswith("Internal") and name != "ChatEvent":
            assert issubclass(getattr(models, name), models.BaseResponse), name
            assert {"success", "message"} <= {f.name for f in MODELLED[name].fields}


def kind_of_field(field: FieldDescriptor) -> str:
    """Names a field's kind in words that a Python annotation can be put in, too."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return "dict"
    single = kind_of_single(field)
    return f"list[{single}]" if field.is_repeated else single


def kind_of_single(field: FieldDescriptor) -> str:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        full_name = field.message_type.full_name
        return {"google.protobuf.Struct": "dict", "google.protobuf.Timestamp": "datetime"}.get(
            full_name, field.message_type.name
        )
    if field.type == FieldDescriptor.TYPE_ENUM:
        return "enum"
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return "float" if field.name in FRACTIONS else "int"
    return {
        FieldDescriptor.CPPTYPE_INT32: "int",
        FieldDescriptor.CPPTYPE_INT64: "int",
        FieldDescriptor.CPPTYPE_FLOAT: "float",
        FieldDescriptor.CPPTYPE_BOOL: "bool",
        FieldDescriptor.CPPTYPE_STRING: "bytes" if field.type == FieldDescriptor.TYPE_BYTES else "str",
    }[field.cpp_type]


def kind_of_annotation(annotation: typing.Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {typing.Union, UnionType}:
        (annotation,) = [a for a in arguments if a is not NoneType]
        return kind_of_annotation(annotation)
    if origin is list:
        return f"list[{kind_of_annotation(arguments[0])}]"
    if origin is dict:
        return "dict"
    if issubclass(annotation, str) and annotation is not str:
        return "enum"
    return annotation.__name__


def test_every_public_rpc_has_an_http_path_and_no_internal_one_is_under_api() -> None:
    for _, service, method in METHODS:
        rule = method.options.Extensions[annotations_pb2.http]
        path = getattr(rule, rule.WhichOneof("pattern"))
        assert path.startswith("/internal/" if service.name.startswith("Internal") else "/api/v1/"), method.name


def test_every_error_has_a_typed_detail_that_exists() -> None:
    for error in all_subclasses(MallaError):
        if error.detail_message is not None:
            assert POOL.FindMessageTypeByName(error.detail_message)


def all_subclasses(kind: type[MallaError]) -> Iterator[type[MallaError]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from all_subclasses(subclass)


def test_token_counts_are_numbers_in_json() -> None:
    for name in ("TokenUsage", "StageUsage"):
        for field in MODELLED[name].fields:
            if field.name.endswith("_tokens"):
                assert field.type == FieldDescriptor.TYPE_INT32


def test_every_method_comment_names_its_status_codes_where_it_can_fail() -> None:
    for file in own_files():
        comments = {tuple(location.path): location.leading_comments for location in file.source_code_info.location}
        for i, service in enumerate(file.service):
            for j in range(len(service.method)):
                comment = comments[6, i, 2, j]
                assert any(word in comment for word in ("Returns ", "Fails as ", "fails as", "fails"))


def test_generated_code_is_fresh() -> None:
    run(sys.executable, "proto/generate.py", "--check")


def test_the_schema_is_linted_and_formatted() -> None:
    run(str(BIN / "buf"), "lint")
    run(str(BIN / "buf"), "format", "--diff", "--exit-code", "--path", "proto/malla")


def test_a_breaking_change_is_noticed(tmp_path: Path) -> None:
    """`buf breaking` guards the contract: a renumbered field is refused, today's schema accepted."""
    shutil.copyfile(REPOSITORY / "buf.yaml", tmp_path / "buf.yaml")
    shutil.copytree(REPOSITORY / "proto", tmp_path / "proto")
    run(str(BIN / "buf"), "breaking", "--against", str(tmp_path))
    usage = tmp_path / "proto/malla/common/v1/usage.proto"
    usage.write_text(usage.read_text().replace("int32 input_tokens = 1;", "int32 input_tokens = 99;"))
    refused = subprocess.run(
        [BIN / "buf", "breaking", "--against", tmp_path], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "usage.proto" in refused.stdout


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_message_classes_can_be_made_from_the_descriptor_set() -> None:
    """The proxy's transcoder and /openapi.json read this file: it must hold all it refers to."""
    for message in own_messages():
        message_factory.GetMessageClass(message)()
