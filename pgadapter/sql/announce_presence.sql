-- Announces changes of presence to the watchers of rooms.
select announced, due_ms from /*schema.*/announce_presence($1, $2)
