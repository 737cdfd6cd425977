"""Every setting, in one typed tree, and how it is read.

In: flags, then environment (`METACLAW_GATEWAY__PORT`), then a TOML file, then the defaults of the sections.
Out: `settings.Settings`. A key that is not in the tree is refused, with the nearest key that is.
"""
