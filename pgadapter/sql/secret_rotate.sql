-- Replaces the notification key $1, so that notifications of lost batches can no longer
-- be opened. One of the nodes that notice the loss replaces it.
update /*schema.*/meta
set notification_key = sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'))
where notification_key = $1
