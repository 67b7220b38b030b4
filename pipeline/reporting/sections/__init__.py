"""The sections of the page, a file each: values with named fields, and a template of the same name."""
