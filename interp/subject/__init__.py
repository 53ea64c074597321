"""Models under study: loading them, reading and editing their activations."""

from interp.subject.folder import SubjectInfo, subject_info
from interp.subject.load import load
from interp.subject.reading import RunOutput
from interp.subject.site import SITE_KINDS, Site, SiteKind
from interp.subject.subject import Subject

__all__ = ["SITE_KINDS", "RunOutput", "Site", "SiteKind", "Subject", "SubjectInfo", "load", "subject_info"]
