-- The key of the bell.
select bell_key from /*schema.*/meta
