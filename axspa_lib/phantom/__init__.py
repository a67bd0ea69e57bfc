"""Simulate sacro-iliac MRI of patients with known disease, and the readers who judge it.

`person` (body and disease), `scene` with `section`, `drawing` and `painters` (the object), `physics` and `acquisition`
(the image), `readers`, `examination` (one patient), `dicom`, `truth` and `cohort` (what is written).
"""
