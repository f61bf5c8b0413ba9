"""What a model can be asked beside the draft: a closed set of tasks."""

from enum import StrEnum


class Task(StrEnum):
    """One kind of question. Which of them a model was trained for, its engine says."""

    PHRASE = "phrase"
    """Where on the image is what a phrase of a report describes?"""
    FINDING = "finding"
    """Is one finding there, and where?"""
    FINDINGS = "findings"
    """Which of several findings are there, and where?"""
    ABNORMAL = "abnormal"
    """Where is anything abnormal?"""
    REGION = "region"
    """Where is an anatomical region?"""
    ORGAN = "organ"
    """Where is an organ?"""
    QUESTION = "question"
    """A question of one's own about one image."""
    DIFFERENCE = "difference"
    """What has changed between the latest earlier exam and this one?"""
    VIEW = "view"
    """Which projection is the image?"""
    PLAIN = "plain"
    """The draft in easy language."""
    SUMMARY = "summary"
    """The draft in short; a draft's impression is the answer to this."""
    DIFFERENTIAL = "differential"
    """Which diagnoses may be behind what the image shows?"""
