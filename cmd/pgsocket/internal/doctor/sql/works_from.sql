-- The oldest schema version that a program must know to work with the schema.
select m.works_from from /*schema.*/meta m
