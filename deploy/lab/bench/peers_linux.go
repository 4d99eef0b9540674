package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"os"
	"strconv"
	"time"

	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// settled is when an agent that has just come up holds what it will hold: it
// gives memory back ten seconds after its start.
const settled = 20 * time.Second

// peers measures what an agent's memory is in meshes of other sizes, all of whose
// other members are away.
func (b *bench) peers() error {
	var first float64
	for _, n := range []int{1, 100, 1000} {
		mb, err := b.residentWith(n)
		if err != nil {
			return fmt.Errorf("with %d: %w", n, err)
		}
		note := ""
		if n == 1 {
			first = mb
		} else {
			note = fmt.Sprintf("%.1f KB more a peer", (mb-first)*1024/float64(n-1))
		}
		b.add(fmt.Sprintf("resident with %d idle peers", n), mb, "MB", note)
	}
	return nil
}

func (b *bench) residentWith(peers int) (float64, error) {
	l, err := lab.New()
	if err != nil {
		return 0, err
	}
	defer l.Close()
	host, err := l.Public("hub", lab.Delay{}, mesh.HubAddr)
	if err != nil {
		return 0, err
	}
	hub := mesh.NewHub(host, b.meshd)
	if err := hub.Start(b.ctx); err != nil {
		return 0, err
	}
	key, err := hub.Join(b.ctx, "--approved", "--reusable")
	if err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	if _, err := host.Run(b.ctx, self, "-join", strconv.Itoa(peers), key); err != nil {
		return 0, err
	}
	host, err = l.Public("a", lab.Delay{}, addrA)
	if err != nil {
		return 0, err
	}
	a := mesh.NewAgent(host, b.meshd)
	if _, err := a.Up(b.ctx, key); err != nil {
		return 0, err
	}
	if err := b.sleep(settled); err != nil {
		return 0, err
	}
	status, err := a.Status(b.ctx)
	if err != nil {
		return 0, err
	}
	if len(status.Peers) != peers {
		return 0, fmt.Errorf("the agent knows %d peers of %d", len(status.Peers), peers)
	}
	pid, err := a.PID()
	if err != nil {
		return 0, err
	}
	return residentMB(pid, "VmRSS")
}

// join makes members that are never seen again. It runs inside the lab.
func join(ctx context.Context, n int, key string) error {
	where, err := api.ParseJoin(key)
	if err != nil {
		return err
	}
	for i := range n {
		if err := joinOne(ctx, where, fmt.Sprintf("idle%d", i)); err != nil {
			return fmt.Errorf("member %d: %w", i, err)
		}
	}
	return nil
}

func joinOne(ctx context.Context, where api.JoinString, name string) error {
	id, err := api.NewIdentity()
	if err != nil {
		return err
	}
	wg, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	client := api.Dial(api.ClientConfig{Hosts: where.Hosts, Port: where.Port, Pin: where.Pin, Identity: id})
	defer client.CloseIdle()
	_, err = client.Control.Join(ctx, &meshdv1.JoinRequest{WireguardKey: wg.PublicKey().Bytes(), Hostname: name, Secret: where.Secret[:]})
	return err
}
