// Package localapi is what the command line and the daemon of one mesh say to
// each other: HTTP and JSON over a unix socket, so that curl speaks it too.
//
//	meshd status ──▶ Client ──▶ /run/meshd/NAME.sock ──▶ Server ──▶ Backend (the agent)
//
//	GET  /version          Version
//	GET  /status           Status
//	POST /up    UpRequest  204 when the wish was taken
//	POST /down             204 when the mesh is down; the daemon ends then
//	GET  /ping?peer=NAME   PingReply, one a request
//	GET  /why?peer=NAME    Why
//	GET  /settings         []Setting
//	POST /settings         {"KEY": "VALUE"}; []Setting, all of them, as they are then
//	GET  /netcheck         Netcheck; ?lifetime=yes measures that, too
//	GET  /dns/key          DNSKey
//	GET  /services         []Service, those of this machine
//	POST /services         AnnounceRequest; the Service
//	POST /services/withdraw UnannounceRequest; []Service, those withdrawn
//	GET  /browse           []Service, those of all members; ?type=TYPE of one type
//
// Every answer other than 2xx carries an [Error]: a sentence, and a hint where
// there is one. Who may open the socket may do everything: it belongs to root
// and its group.
//
// The package knows these words and the socket. It never knows what an agent
// is made of.
package localapi
