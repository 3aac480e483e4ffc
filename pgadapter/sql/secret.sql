-- The key of the bell.
select notification_key from /*schema.*/meta
