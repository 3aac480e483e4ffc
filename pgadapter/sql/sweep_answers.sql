-- Deletes answers whose window is over, a portion of them.
delete from /*schema.*/answers a
using (
    select o.request, o.role
    from /*schema.*/answers o
    where o.expires_at <= now()
    order by o.expires_at
    limit $1
    for update skip locked
) over
where a.request = over.request and a.role = over.role
