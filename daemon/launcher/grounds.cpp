// SPDX-License-Identifier: Apache-2.0
#include "launcher/grounds.hpp"

#include "launcher/cgroup/cgroup_leaf.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::launcher {

namespace asio = boost::asio;

bool safeId(const std::string& id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

asio::awaitable<void> removeRemains(Grounds grounds, std::vector<std::string> leaves,
                                    std::string recoveryId) {
  if (!leaves.empty()) {
    const auto removed = co_await removeLeaf(grounds.cgroups, std::move(leaves));
    static_cast<void>(removed);
  }
  if (!recoveryId.empty()) static_cast<void>(grounds.fifos->remove(recoveryId));
}

}  // namespace fallbackd::launcher
