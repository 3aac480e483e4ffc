-- The used part of the queue of notifications, in thousandths.
select (pg_notification_queue_usage() * 1000)::int
