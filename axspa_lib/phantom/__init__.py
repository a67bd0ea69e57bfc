"""The phantom: a sacro-iliac MRI simulator with readers.

`anatomy` (who), `disease` (what is wrong), `scene` with `section`, `organs`, `bowel`, `materials`, `paint`, `texture`
(the object), `tissues`, `scanner`, `acquisition` (the image), `readers`, `calibration` (who reads it and how well they
agree), `examination`, `dicom`, `truth`, `cohort` (what is written), `measure`, `real` (both measured
alike).
"""
