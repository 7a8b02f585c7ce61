# Registers backbones and hooks of this package; bases that have it need it once.
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)
