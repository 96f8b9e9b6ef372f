"""Follows the systemd journal.

From the outside in: `source` is what the watcher reads. `connection` opens the journal and reads records from it;
`start` goes to where reading begins; `fields` chooses what is handed over of a record. `place` is what is saved,
`wake` what the watcher waits for. `vacuumed` and `suppressed` tell what may be lost, and `gaps` collects it.
`reader` alone touches python3-systemd. Which fields are trusted: formats/journal_fields.py.
"""
