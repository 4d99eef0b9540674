package coordinator

import (
	"context"
	"crypto/rand"
	"time"

	"connectrpc.com/connect"

	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
)

// adminService implements meshdv1connect.AdminServiceHandler.
type adminService struct{ c *Coordinator }

// maxKeySeconds is a hundred years: more is a typing error, and would overflow.
const maxKeySeconds = 100 * 365 * 24 * 3600

// CreateKey implements the method of that name; see control.proto. The secret
// is in the answer and nowhere else.
func (s *adminService) CreateKey(ctx context.Context, r *meshdv1.CreateKeyRequest) (*meshdv1.CreateKeyResponse, error) {
	if r.GetExpiresSeconds() > maxKeySeconds {
		return nil, invalid("a key cannot last %d seconds, more than a hundred years", r.GetExpiresSeconds())
	}
	if len(s.c.hosts) == 0 {
		return nil, Errorf(connect.CodeFailedPrecondition, "start the coordinator with --public HOST[:PORT]",
			"no join string: this machine has no address that it could name")
	}
	join := api.JoinString{Hosts: s.c.hosts, Port: s.c.port, Pin: s.c.identity.Pin()}
	rand.Read(join.Secret[:])
	var key Key
	err := s.query(ctx, func(n *Network) error {
		id := n.settings.NextKey
		err := s.c.handle(CreateKey{
			Hash: HashSecret(join.Secret[:]), Reusable: r.GetReusable(), Approved: r.GetApproved(),
			Ephemeral: r.GetEphemeral(), Expires: time.Duration(r.GetExpiresSeconds()) * time.Second, Tags: r.GetTags(),
		})
		key = n.keys[id]
		return err
	})
	if err != nil {
		return nil, err
	}
	return &meshdv1.CreateKeyResponse{Key: keyRecord(key, s.c.now()), Join: join.String()}, nil
}

// ListKeys implements the method of that name; see control.proto.
func (s *adminService) ListKeys(ctx context.Context, _ *meshdv1.ListKeysRequest) (*meshdv1.ListKeysResponse, error) {
	resp := &meshdv1.ListKeysResponse{}
	return resp, s.query(ctx, func(n *Network) error {
		for _, k := range n.Keys() {
			resp.Keys = append(resp.Keys, keyRecord(k, s.c.now()))
		}
		return nil
	})
}

// ExpireKey implements the method of that name; see control.proto.
func (s *adminService) ExpireKey(ctx context.Context, r *meshdv1.ExpireKeyRequest) (*meshdv1.ExpireKeyResponse, error) {
	resp := &meshdv1.ExpireKeyResponse{}
	return resp, s.query(ctx, func(n *Network) error {
		err := s.c.handle(ExpireKey{KeyID(r.GetId())})
		resp.Key = keyRecord(n.keys[KeyID(r.GetId())], s.c.now())
		return err
	})
}

// ListMembers implements the method of that name; see control.proto.
func (s *adminService) ListMembers(ctx context.Context, _ *meshdv1.ListMembersRequest) (*meshdv1.ListMembersResponse, error) {
	resp := &meshdv1.ListMembersResponse{}
	return resp, s.query(ctx, func(n *Network) error {
		for _, m := range n.Members() {
			resp.Members = append(resp.Members, infoRecord(m))
		}
		return nil
	})
}

// ApproveMember implements the method of that name; see control.proto.
func (s *adminService) ApproveMember(ctx context.Context, r *meshdv1.ApproveMemberRequest) (*meshdv1.ApproveMemberResponse, error) {
	info, err := s.decide(ctx, r.GetMember(), func(id MemberID) Event { return Approve{id} })
	return &meshdv1.ApproveMemberResponse{Member: info}, err
}

// RenameMember implements the method of that name; see control.proto.
func (s *adminService) RenameMember(ctx context.Context, r *meshdv1.RenameMemberRequest) (*meshdv1.RenameMemberResponse, error) {
	info, err := s.decide(ctx, r.GetMember(), func(id MemberID) Event { return Rename{id, r.GetName()} })
	return &meshdv1.RenameMemberResponse{Member: info}, err
}

// ExpireMember implements the method of that name; see control.proto.
func (s *adminService) ExpireMember(ctx context.Context, r *meshdv1.ExpireMemberRequest) (*meshdv1.ExpireMemberResponse, error) {
	info, err := s.decide(ctx, r.GetMember(), func(id MemberID) Event { return Expire{id} })
	return &meshdv1.ExpireMemberResponse{Member: info}, err
}

// DeleteMember implements the method of that name; see control.proto. It answers
// with the member as it was.
func (s *adminService) DeleteMember(ctx context.Context, r *meshdv1.DeleteMemberRequest) (*meshdv1.DeleteMemberResponse, error) {
	info, err := s.decide(ctx, r.GetMember(), func(id MemberID) Event { return Delete{id} })
	return &meshdv1.DeleteMemberResponse{Member: info}, err
}

// decide finds the member that the owner means, and handles an event about it.
func (s *adminService) decide(ctx context.Context, ref string, event func(MemberID) Event) (info *meshdv1.MemberInfo, err error) {
	err = s.query(ctx, func(n *Network) error {
		m, err := n.Find(ref)
		if err != nil {
			return err
		}
		if err := s.c.handle(event(m.ID)); err != nil {
			return err
		}
		if after, ok := n.Member(m.ID); ok {
			m = after
		}
		info = infoRecord(m)
		return nil
	})
	return info, err
}

// Status implements the method of that name; see control.proto.
func (s *adminService) Status(ctx context.Context, _ *meshdv1.StatusRequest) (*meshdv1.StatusResponse, error) {
	c := s.c
	traffic := c.relay.Stats()
	resp := &meshdv1.StatusResponse{
		Version:       c.version,
		Pin:           c.identity.Pin().String(),
		Hosts:         c.hosts,
		Listen:        c.control.Addr().String(),
		StartedUnix:   unix(c.started),
		RelaySessions: uint32(traffic.UDP + traffic.WebSockets),
		RelayPackets:  traffic.Packets,
		RelayBytes:    traffic.Bytes,

		RelayOffload: traffic.Offload, OffloadFlows: uint32(traffic.Flows),
		OffloadPackets: traffic.Kernel.Packets, OffloadBytes: traffic.Kernel.Bytes,
	}
	for _, a := range c.relay.Addrs() {
		resp.Udp = append(resp.Udp, a.String())
	}
	return resp, s.query(ctx, func(n *Network) error {
		resp.Mesh, resp.Prefix4, resp.Prefix6 = n.settings.Mesh, n.settings.Prefix4.String(), n.settings.Prefix6.String()
		resp.Members, resp.Online, resp.Pending = n.count()
		resp.Health = c.health.lines()
		return nil
	})
}

// query runs f in the goroutine that owns the network.
func (s *adminService) query(ctx context.Context, f func(*Network) error) (err error) {
	if stopped := s.c.do(ctx, func() { err = f(s.c.network) }); stopped != nil {
		return stopped
	}
	return err
}
