// SPDX-License-Identifier: Apache-2.0
// The events of a cluster, as its API server keeps them: core/v1, created and patched. Stricter than a real
// server, which accepts much from old clients.
#pragma once

#include "kube/tls_server.hpp"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>

namespace fallbackd::kube_test {

class EventStore {
 public:
  struct Reply {
    unsigned status = 200;
    std::string message;  // empty: the object
    std::string reason;
    boost::json::object object = {};
    std::string violation;  // a mistake that no client should make
  };

  static bool isEventsPath(const std::string& path);
  Reply handle(const Seen& request);

  /// What the requester may do in the namespace: "create", "patch". Namespace "*": everywhere.
  void grant(const std::string& namespaceName, std::set<std::string> verbs) {
    grants_[namespaceName] = std::move(verbs);
  }
  /// Removes all events, as if they had expired.
  void expire() { events_.clear(); }
  void terminate(const std::string& namespaceName) { terminating_.insert(namespaceName); }
  [[nodiscard]] std::vector<boost::json::object> all() const;

 private:
  [[nodiscard]] bool granted(const std::string& namespaceName, const std::string& verb) const;
  Reply create(const std::string& namespaceName, const Seen& request);
  Reply patch(const std::string& namespaceName, const std::string& name, const Seen& request);

  std::map<std::pair<std::string, std::string>, boost::json::object> events_;  // namespace and name
  std::vector<std::pair<std::string, std::string>> order_;
  std::map<std::string, std::set<std::string>> grants_{{"*", {"create", "patch"}}};
  std::set<std::string> terminating_;
};

}  // namespace fallbackd::kube_test
