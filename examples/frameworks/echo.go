package main

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	"github.com/pgsocket/socketio"
)

// withEcho mounts the server under a wildcard, for every method. Only the ordinary
// route has a timeout.
func withEcho(server *socketio.Server) http.Handler {
	e := echo.New()
	e.Use(middleware.RequestLogger(), middleware.Recover())
	e.Any("/socket.io/*", echo.WrapHandler(server))
	e.GET("/hello", func(c *echo.Context) error { return c.String(http.StatusOK, greeting) },
		middleware.ContextTimeout(5*time.Second))
	return e
}
