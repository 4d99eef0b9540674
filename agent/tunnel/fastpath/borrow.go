package fastpath

import (
	"crypto/cipher"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.zx2c4.com/wireguard/device"
)

// layout says where the fields are that are borrowed, in bytes from the start of
// the struct.
type layout struct {
	indexTable, allowedIPs, mtu               uintptr // of device.Device
	keypairs, remoteStatic, rxBytes, txBytes  uintptr // of device.Peer
	lastHandshake                             uintptr // the same
	entryPeer, entryKeypair                   uintptr // of device.IndexTableEntry
	sendNonce, send, receive, created, remote uintptr // of device.Keypair

	running, outbound, inbound uintptr // of device.Peer, see slim.go
	outboundChan, inboundChan  uintptr // of what the latter two point at
}

var readLayout = sync.OnceValues(func() (l layout, err error) {
	for _, f := range []struct {
		in, want reflect.Type
		path     string
		at       *uintptr
	}{
		{reflect.TypeFor[device.Device](), reflect.TypeFor[device.IndexTable](), "indexTable", &l.indexTable},
		{reflect.TypeFor[device.Device](), reflect.TypeFor[device.AllowedIPs](), "allowedips", &l.allowedIPs},
		{reflect.TypeFor[device.Device](), reflect.TypeFor[atomic.Int32](), "tun.mtu", &l.mtu},
		{reflect.TypeFor[device.Peer](), reflect.TypeFor[device.Keypairs](), "keypairs", &l.keypairs},
		{reflect.TypeFor[device.Peer](), reflect.TypeFor[device.NoisePublicKey](), "handshake.remoteStatic", &l.remoteStatic},
		{reflect.TypeFor[device.Peer](), reflect.TypeFor[atomic.Uint64](), "rxBytes", &l.rxBytes},
		{reflect.TypeFor[device.Peer](), reflect.TypeFor[atomic.Uint64](), "txBytes", &l.txBytes},
		{reflect.TypeFor[device.Peer](), reflect.TypeFor[atomic.Int64](), "lastHandshakeNano", &l.lastHandshake},
		{reflect.TypeFor[device.IndexTableEntry](), reflect.TypeFor[*device.Peer](), "peer", &l.entryPeer},
		{reflect.TypeFor[device.IndexTableEntry](), reflect.TypeFor[*device.Keypair](), "keypair", &l.entryKeypair},
		{reflect.TypeFor[device.Keypair](), reflect.TypeFor[atomic.Uint64](), "sendNonce", &l.sendNonce},
		{reflect.TypeFor[device.Keypair](), reflect.TypeFor[cipher.AEAD](), "send", &l.send},
		{reflect.TypeFor[device.Keypair](), reflect.TypeFor[cipher.AEAD](), "receive", &l.receive},
		{reflect.TypeFor[device.Keypair](), reflect.TypeFor[time.Time](), "created", &l.created},
		{reflect.TypeFor[device.Keypair](), reflect.TypeFor[uint32](), "remoteIndex", &l.remote},
	} {
		if *f.at, err = offset(f.in, f.path, f.want); err != nil {
			return layout{}, err
		}
	}
	return l, l.readQueues()
})

// offset finds a field by its path ("tun.mtu") and checks its type.
func offset(in reflect.Type, path string, want reflect.Type) (uintptr, error) {
	var at uintptr
	t := in
	for name := range strings.SplitSeq(path, ".") {
		if t.Kind() != reflect.Struct {
			return 0, fmt.Errorf("%v has no %s: %v is no struct", in, path, t)
		}
		f, ok := t.FieldByName(name)
		if !ok || len(f.Index) != 1 {
			return 0, fmt.Errorf("%v has no field %s", in, path)
		}
		at, t = at+f.Offset, f.Type
	}
	if t != want {
		return 0, fmt.Errorf("field %s of %v is a %v instead of a %v", path, in, t, want)
	}
	return at, nil
}

// borrowed reads a device's fields.
type borrowed struct {
	layout
	device *device.Device
}

// lookup finds the keypair that the other side names by index, and whose it is.
// The device forgets an index when it drops the keypair.
func (b *borrowed) lookup(index uint32) (*device.Peer, *device.Keypair) {
	table := (*device.IndexTable)(unsafe.Add(unsafe.Pointer(b.device), b.indexTable))
	entry := table.Lookup(index)
	p := unsafe.Pointer(&entry)
	return *(**device.Peer)(unsafe.Add(p, b.entryPeer)), *(**device.Keypair)(unsafe.Add(p, b.entryKeypair))
}

// owner is the peer that an address inside the tunnel belongs to; nil: nobody.
// ip has 4 or 16 bytes.
func (b *borrowed) owner(ip []byte) *device.Peer {
	return (*device.AllowedIPs)(unsafe.Add(unsafe.Pointer(b.device), b.allowedIPs)).Lookup(ip)
}

func (b *borrowed) interfaceMTU() int {
	return int((*atomic.Int32)(unsafe.Add(unsafe.Pointer(b.device), b.mtu)).Load())
}

// current is the keypair to send with; nil: none yet.
func (b *borrowed) current(p *device.Peer) *device.Keypair {
	return (*device.Keypairs)(unsafe.Add(unsafe.Pointer(p), b.keypairs)).Current()
}

// key is the peer's public key, which it keeps for life.
func (b *borrowed) key(p *device.Peer) *Key {
	return (*Key)(unsafe.Add(unsafe.Pointer(p), b.remoteStatic))
}

func (b *borrowed) received(p *device.Peer) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(unsafe.Pointer(p), b.rxBytes))
}

func (b *borrowed) sent(p *device.Peer) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(unsafe.Pointer(p), b.txBytes))
}

func (b *borrowed) nonce(k *device.Keypair) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(unsafe.Pointer(k), b.sendNonce))
}

// The rest of a keypair does not change after it is made.

func (b *borrowed) sealer(k *device.Keypair) cipher.AEAD {
	return *(*cipher.AEAD)(unsafe.Add(unsafe.Pointer(k), b.send))
}

func (b *borrowed) opener(k *device.Keypair) cipher.AEAD {
	return *(*cipher.AEAD)(unsafe.Add(unsafe.Pointer(k), b.receive))
}

func (b *borrowed) birth(k *device.Keypair) time.Time {
	return *(*time.Time)(unsafe.Add(unsafe.Pointer(k), b.created))
}

func (b *borrowed) remoteIndex(k *device.Keypair) uint32 {
	return *(*uint32)(unsafe.Add(unsafe.Pointer(k), b.remote))
}
