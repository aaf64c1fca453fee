"""Write croissant.json: the data described for machines, as Croissant 1.1 has it, with the fields of Responsible AI.

The specification: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from vsumdata.datasets.publish.repository.about import About, SplitFiles, Tally
from vsumdata.datasets.publish.repository.card import language_codes
from vsumdata.datasets.publish.repository.columns import meaning
from vsumdata.datasets.publish.repository.licences import licence_of
from vsumdata.datasets.publish.repository.statements import Statements, activities, derived_from

NAME = "croissant.json"
VERSION = "1.0.0"
SPECIFICATIONS = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
# A git repository has no checksum; mlcroissant's own files say so by this address.
NO_CHECKSUM = "https://github.com/mlcommons/croissant/issues/80"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{
        name: f"cr:{name}"
        for name in (
            "arrayShape citeAs column containedIn equivalentProperty extract field fileProperty fileObject fileSet "
            "format includes isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex "
            "repeated replace samplingRate separator source subField transform"
        ).split()
    },
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
TYPES = {
    "string": "sc:Text",
    "int32": "cr:Int32",
    "int64": "cr:Int64",
    "halffloat": "cr:Float16",
    "float": "cr:Float32",
    "double": "cr:Float64",
    "date32[day]": "sc:Date",
    "timestamp[us, tz=UTC]": "sc:DateTime",
}


def croissant(
    about: About,
    tally: Tally,
    splits: list[SplitFiles],
    schema: pa.Schema,
    said: Statements,
    address: str | None,
) -> dict[str, Any]:
    """The content of croissant.json. `address`: the page of the repository, None for a folder of its own."""
    files: dict[str, Any] = {
        "@type": "cr:FileSet",
        "@id": "parquet-files",
        "name": "parquet-files",
        "description": f"{sum(len(split.files) for split in splits)} Parquet files.",
        "encodingFormat": "application/x-parquet",
        "includes": "data/*.parquet",
    }
    distribution = [files]
    if address is not None:
        files["containedIn"] = {"@id": "repository"}
        distribution.insert(0, repository(address))
    codes = language_codes(tally.languages)
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": SPECIFICATIONS,
        "name": re.sub(r"[^\w-]+", "-", about.name),
        "description": f"{tally.videos:,} videos for video summarization: features of frames and texts, shots, and "
        "YouTube's “most replayed” curve.",
        "license": licence_addresses(tally, address),
        "url": address or "README.md",
        "creator": {"@type": "sc:Organization", "name": owner(address) or f"the collectors of {about.name}"},
        "datePublished": about.published.isoformat(),
        "version": VERSION,
        "citeAs": citation(about, address),
        "keywords": ["video summarization", "highlight detection", "how-to videos"],
        **({"inLanguage": codes} if codes else {}),
        "isLiveDataset": False,
        **responsible(about, said),
        "distribution": distribution,
        "recordSet": [records(schema)],
    }


def repository(address: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": "repository",
        "name": "repository",
        "description": "The git repository of the data.",
        "contentUrl": address,
        "encodingFormat": "git+https",
        "sha256": NO_CHECKSUM,
    }


def licence_addresses(tally: Tally, address: str | None) -> list[str]:
    """The licences of the texts that go along, and where it is said what else holds."""
    known = {licence_of(name).url for (_, name) in tally.kept} - {None}
    return [*sorted(filter(None, known)), f"{address or 'README.md'}#licences"]


def responsible(about: About, said: Statements) -> dict[str, Any]:
    """The eight fields that NeurIPS asks for, and how the data was collected."""
    return {
        "rai:dataLimitations": " ".join(said.limitations),
        "rai:dataBiases": " ".join(said.biases),
        "rai:personalSensitiveInformation": " ".join(said.personal),
        "rai:dataUseCases": " ".join(said.uses),
        "rai:dataSocialImpact": " ".join(said.impact),
        "rai:hasSyntheticData": said.is_synthetic,
        "prov:wasDerivedFrom": derived_from(about),
        "prov:wasGeneratedBy": activities(about),
        "rai:dataReleaseMaintenancePlan": " ".join(said.removal),
    }


def records(schema: pa.Schema) -> dict[str, Any]:
    """The rows as a set of records, one field for each column."""
    return {
        "@type": "cr:RecordSet",
        "@id": "videos",
        "name": "videos",
        "description": "One record is one video. The field `split` says whether it trains, validates or tests.",
        "key": {"@id": "videos/video_id"},
        "field": [field(column) for column in schema],
    }


def field(column: pa.Field) -> dict[str, Any]:
    """The field of a column. A list of structs has a field for each of their parts."""
    name, kind = f"videos/{column.name}", column.type
    found = {"@type": "cr:Field", "@id": name, "name": name, "description": meaning(column.name)}
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        parts = [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{part.name}",
                "name": f"{name}/{part.name}",
                **typed(part.type),
                "source": {**source(column.name), "transform": {"jsonPath": part.name}},
            }
            for part in kind.value_type
        ]
        return {**found, "isArray": True, "arrayShape": "-1", "subField": parts}
    return {**found, **typed(kind), "source": source(column.name)}


def source(column: str) -> dict[str, Any]:
    return {"fileSet": {"@id": "parquet-files"}, "extract": {"column": column}}


def typed(kind: pa.DataType) -> dict[str, Any]:
    """The type of a column, and its shape if it is an array; -1 is any length."""
    shape = []
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size if pa.types.is_fixed_size_list(kind) else -1)
        kind = kind.value_type
    array = {"isArray": True, "arrayShape": ",".join(map(str, shape))} if shape else {}
    return {"dataType": TYPES[str(kind)], **array}


def owner(address: str | None) -> str | None:
    return address.rstrip("/").split("/")[-2] if address else None


def citation(about: About, address: str | None) -> str:
    """A BibTeX entry of the data themselves."""
    key = re.sub(r"\W+", "", about.name).lower() or "data"
    where = f", howpublished={{{address}}}" if address else ""
    author = owner(address)
    by = f"author={{{author}}}, " if author else ""
    return f"@misc{{{key}{about.published.year}, {by}title={{{about.name}}}, year={{{about.published.year}}}{where}}}"
