"""Which login grants, for how long, and why not. Pure but for the files of users.

order.py: the order in which a login is judged, with every reason. decide.py: a login in, a grant or a refusal out.
limits.py: what the judgement depends on. address_facts.py: what follows from an address alone. user_list.py,
user_files.py: the lists of users. cut_names.py: user names of which the log has only the beginning.
peer_names.py: names that stand for users of other nodes.
"""
