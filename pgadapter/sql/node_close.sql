-- A node ends its life, after its sessions were parked.
delete from /*schema.*/nodes where id = $1
