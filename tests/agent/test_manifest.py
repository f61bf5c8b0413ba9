"""What a model saw and said can be written down and read again, word for word, years later."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.manifest import (
    ExplainedStudy,
    Manifest,
    ManifestExam,
    ManifestImage,
    ManifestReport,
    dump_manifest,
    dump_reading,
    load_manifest,
    load_reading,
)
from inference.reading import Box, Change, EngineIdentity, Finding, Reading, Score, Status, Turn

texts = st.text(max_size=30)
uids = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,5}){2,6}", fullmatch=True)
images = st.builds(ManifestImage, uids, uids, texts, texts, st.integers(1, 9000), st.integers(1, 9000))
exams = st.builds(
    ManifestExam,
    study_instance_uid=uids,
    study_date=texts,
    study_time=texts,
    images=st.lists(images, max_size=3).map(tuple),
    report=st.none() | st.builds(ManifestReport, texts, texts, uids, texts, st.booleans()),
    days_before=st.none() | st.integers(0, 40_000),
)
manifests = st.builds(
    Manifest,
    current=exams,
    priors=st.lists(exams, max_size=3).map(tuple),
    indication=st.none() | texts,
    passed_over=st.lists(st.builds(ExplainedStudy, uids, texts), max_size=3).map(tuple),
    left_out=st.lists(st.tuples(uids, texts), max_size=3).map(tuple),
    complete_because=texts,
    notes=st.lists(texts, max_size=3).map(tuple),
)

numbers = st.floats(0, 9000, allow_nan=False)
boxes = st.builds(
    lambda key, left, top, width, height: Box(key, left, top, left + width, top + height),
    uids,
    numbers,
    numbers,
    st.floats(0.5, 1000),
    st.floats(0.5, 1000),
)
findings = st.builds(
    Finding,
    name=texts,
    status=st.sampled_from(Status),
    change=st.none() | st.sampled_from(Change),
    side=st.none() | st.sampled_from(["left", "right", "bilateral"]),
    boxes=st.lists(boxes, max_size=2).map(tuple),
    score=st.none() | st.floats(0, 1),
)
turns = st.builds(
    Turn,
    purpose=texts,
    image_keys=st.lists(uids, max_size=3).map(tuple),
    question=texts,
    answer=texts,
    seconds=numbers,
    prompt_tokens=st.integers(0, 9999),
    answer_tokens=st.integers(0, 9999),
)
scores = st.builds(Score, texts, st.floats(0, 1), st.none() | st.floats(0, 1), texts)
readings = st.builds(
    Reading,
    findings=st.lists(findings, max_size=3).map(tuple),
    report=texts,
    turns=st.lists(turns, max_size=3).map(tuple),
    engine=st.builds(EngineIdentity, texts, texts, texts, texts, st.booleans()),
    problems=st.lists(texts, max_size=2).map(tuple),
    compared_with_prior=st.booleans(),
    scores=st.lists(scores, max_size=3).map(tuple),
    seconds=numbers,
    impression=st.none() | texts,
    differential=st.none() | texts,
)

A_MANIFEST = Manifest(current=ManifestExam("1.2", "20260302", "083000", ()))
A_READING = Reading((), "Clear.", (), EngineIdentity("m4cxr", "0.1.0", "M4CXR", "sha256:00"))


@settings(max_examples=40, deadline=None)
@given(manifests)
def test_a_manifest_survives_the_way_to_json_and_back(manifest: Manifest):
    assert load_manifest(dump_manifest(manifest)) == manifest


@settings(max_examples=40, deadline=None)
@given(readings)
def test_a_reading_survives_the_way_to_json_and_back(reading: Reading):
    assert load_reading(dump_reading(reading)) == reading


def test_the_json_names_its_version_and_reads_as_the_nouns_do():
    written = json.loads(dump_manifest(A_MANIFEST))

    assert written["version"] == 1
    assert written["manifest"]["current"]["study_date"] == "20260302"


def test_a_reading_from_before_there_were_impressions_is_still_read():
    written = json.loads(dump_reading(A_READING))
    del written["reading"]["impression"], written["reading"]["differential"]

    assert load_reading(json.dumps(written)) == A_READING


def with_version(text: str, version: Any) -> str:
    return json.dumps({**json.loads(text), "version": version})


@pytest.mark.parametrize("version", [2, 0, None, "1"])
def test_a_version_of_another_preread_is_refused(version: Any):
    with pytest.raises(ValueError, match="version"):
        load_manifest(with_version(dump_manifest(A_MANIFEST), version))
    with pytest.raises(ValueError, match="version"):
        load_reading(with_version(dump_reading(A_READING), version))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 1}', '{"version": 1, "manifest": {"current": 7}}']
)
def test_what_is_no_manifest_is_refused(text: str):
    with pytest.raises(ValueError):  # noqa: PT011 - the words are those of three parsers
        load_manifest(text)


def test_one_kind_is_not_taken_for_the_other():
    with pytest.raises(ValueError, match="no reading"):
        load_reading(dump_manifest(A_MANIFEST))


def test_a_box_that_is_none_is_refused_when_read():
    finding = Finding("opacity", Status.PRESENT, boxes=(Box("k", 1, 1, 2, 2),))
    text = dump_reading(Reading((finding,), "", (), A_READING.engine)).replace('"right": 2', '"right": 0')

    with pytest.raises(ValueError, match="not a box"):
        load_reading(text)


def test_a_number_that_json_cannot_hold_is_not_written():
    turn = Turn("findings", (), "", "", float("nan"), 0, 0)

    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_reading(Reading((), "", (turn,), A_READING.engine))
