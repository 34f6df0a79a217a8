// SPDX-License-Identifier: Apache-2.0
// Sockets in other network namespaces, and the addresses there. Calls block briefly.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <string>
#include <vector>

namespace fallbackd::sys {

/// A non-blocking socket in `network`. A socket belongs to the namespace of the thread that creates it, so a
/// short-lived thread enters the namespace, creates the socket and ends (20 us on an idle processor). The
/// caller's thread never leaves its namespace, so nothing can keep it from coming back. Needs CAP_SYS_ADMIN.
Result<UniqueFd> socketIn(Stage stage, const NamespaceFd& network, int domain, int type);

/// A connection that is not yet accepted when its listening socket is closed moves to another listening
/// socket on the same port (SO_REUSEPORT) instead of being reset: sets net.ipv4.tcp_migrate_req of `network`.
/// Linux 5.14; reason system if the kernel has no such setting. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
Result<> passOnWaitingConnections(Stage stage, const NamespaceFd& network);

/// The source addresses of the default routes of `network`, IPv4 first. In the host's namespace these are the
/// addresses that kubelet uses for the node unless it is configured otherwise. Sends nothing. Empty without a
/// default route.
Result<std::vector<std::string>> addressesIn(Stage stage, const NamespaceFd& network);

}  // namespace fallbackd::sys
