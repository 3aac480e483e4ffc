-- The key of notifications.
select notification_key from /*schema.*/meta
