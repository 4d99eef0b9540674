// Package e2e holds the stories that meshd must live through, told with the real
// binary on the hosts of a lab. Limits are generous: how fast things go is
// measured by `make bench`, not here.
//
// On a kernel that has WireGuard members use it, unless a story says otherwise: in the
// guest ("make guest"), where CI tells most of them once more. Two guests share them,
// each with a clock that leaps while nothing is to be done, and a megabyte is half of one
// there. CI has five minutes for it, so GUEST_SKIP in the Makefile leaves out
//
//   - what the guest has no programs for: avahi (TestAvahiBrowsesTheZone,
//     TestServicesOfTheLANAreRepublished), or no kernel (TestHubRelaysInTheKernel);
//   - what is about user space: TestBundlesThatGetLost, TestMarkBesideAnotherDefaultRoute,
//     TestBulkOverIPv6;
//   - what a story of the kernel tells as well: TestHostFirewalls, TestInbound, TestMTU,
//     TestStrangersAtHostFirewalls, TestTwoHomesTalkDirectly, TestSymmetricNATIsCrossed,
//     TestPathDiesAndComesBack;
//   - what takes longest: TestPathsSwitchUnderAFlow, TestRandomBytesOnEveryPort,
//     TestGatewaysThatTakePacketsForTheirOwn, TestRebootAmongGatewaysThatTakePackets,
//     TestRoughLinks, TestMemberRelaysWhenTheHubIsGone, TestMemberNearerThanTheHub,
//     TestNetworkThatDropsWireGuard, TestIPv4ThatLeadsNowhere, TestGatewaysOfShortMemory,
//     TestSiblingsBehindACarrier;
//   - what is about joining, the hub, names and their answers: most of bad_linux_test.go
//     and dns_linux_test.go, TestNamesInTheHostsFile, TestOtherNamesAreHandedOn,
//     TestNetcheckBeforeJoining.
//
// Those that the guest has the programs for are told when they are asked for:
//
//	make guest GUEST_SKIP='^$$' GUEST_RUN='TestRandomBytes|TestNamesByDig'
package e2e
