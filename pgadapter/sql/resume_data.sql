-- The data of sessions that are locked.
select pid_hash, key, value::text from /*schema.*/session_data where pid_hash = any($1::text[])
