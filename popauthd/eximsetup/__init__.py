"""Puts popauthd into Debian's Exim and takes it out again, so that Exim never has a configuration that was not tried.

`site` reads what is there, `plan` says which files should be how (pure), `trial` builds a configuration aside
and plays sessions with it, `change` writes the files, all or none. popauthctl exim and the doctor use them.
"""
