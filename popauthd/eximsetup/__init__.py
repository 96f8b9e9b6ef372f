"""Puts popauthd into Debian's Exim and takes it out again, so that Exim never has a configuration that was not tried.

`site` reads what is there, `plan` says which files should be how (pure), `trial` builds a configuration aside and plays
sessions with it, `change` writes the files, all or none. `relaying` proves that strangers do not relay, by what `trace`
reads in a session; `own_acl` says what to add to an ACL that is not Debian's. `one_at_a_time` keeps a second change out
meanwhile; `undo` takes back a change that was cut off. popauthctl exim and the doctor use them.
"""
