// Package browser tests the chat of examples/chat as a visitor meets it: the demo
// with its three nodes, two pages in a real browser, a line that is cut, a node
// that is killed. It needs what package integration needs, and Chromium.
//
//	go test -v -artifacts -outputdir /tmp/chat .   # keeps the pictures that it takes
package browser
