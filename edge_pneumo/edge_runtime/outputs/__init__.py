"""Writers of findings: JSON, tables, overlays, DICOM."""
