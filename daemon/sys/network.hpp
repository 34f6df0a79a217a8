// Sockets of other network namespaces, and the addresses there. All calls block shortly.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <string>
#include <vector>

namespace fallbackd::sys {

/// A non-blocking socket of `network`, wherever the caller is: a socket belongs to the namespace of the
/// thread that makes it, so a thread of its own goes there, makes it and ends (20 us where a processor is
/// free). The caller's thread never leaves its namespace, so nothing can keep it from coming back. Needs
/// CAP_SYS_ADMIN.
Result<UniqueFd> socketIn(Stage stage, const NamespaceFd& network, int domain, int type);

/// The addresses that the default routes of `network` send from, IPv4 first: in the host's namespace those
/// that kubelet, too, takes for the node's unless it is told otherwise. Sends nothing. Empty without such a
/// route.
Result<std::vector<std::string>> addressesIn(Stage stage, const NamespaceFd& network);

}  // namespace fallbackd::sys
