-- The data of sessions that are locked.
select pid, key, value::text from /*schema.*/session_data where pid = any($1::text[])
