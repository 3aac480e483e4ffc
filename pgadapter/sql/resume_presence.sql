-- The presence of locked sessions.
select pid_hash, event, room, state::text from /*schema.*/presence where pid_hash = any($1::text[])
