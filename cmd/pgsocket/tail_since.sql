-- The last position of the newest batch that is older than $1 microseconds since 1970, or the position after which the
-- log is kept; and whether the log keeps everything since then.
select coalesce(old.id * 4096 + 4095, m.low), old.id is not null or m.low = 0
from /*schema.*/meta m
left join lateral (
    select l.id from /*schema.*/log l where l.at < to_timestamp($1::bigint / 1000000.0) order by l.id desc limit 1
) old on true
