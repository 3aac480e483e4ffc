module github.com/pgsocket/socketio/msgpack

go 1.26

require (
	github.com/pgsocket/socketio v0.0.0
	github.com/tinylib/msgp v1.6.5
)

require github.com/philhofer/fwd v1.2.0 // indirect

replace github.com/pgsocket/socketio => ../
