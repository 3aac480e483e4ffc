package main

import (
	"io"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/pgsocket/socketio"
)

// withChi mounts the server next to a group of routes with a timeout.
func withChi(server *socketio.Server) http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.Logger, middleware.Recoverer)
	r.Handle("/socket.io/*", server)
	r.Group(func(r chi.Router) {
		r.Use(middleware.Timeout(5*time.Second), middleware.Compress(5))
		r.Get("/hello", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, greeting) // the client may have disconnected
		})
	})
	return r
}
