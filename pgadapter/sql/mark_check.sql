-- Fails if Postgres may have lost writes since the last checkpoint of node $1.
select /*schema.*/check_mark($1)
