-- The data of locked sessions.
select pid_hash, key, value::text from /*schema.*/session_data where pid_hash = any($1::text[])
