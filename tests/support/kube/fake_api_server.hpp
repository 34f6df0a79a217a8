// SPDX-License-Identifier: Apache-2.0
// The part of an API server that fallbackd uses: list and watch of pods and namespaces, owners by name, and
// events. It refuses what a real server refuses, and records it.
#pragma once

#include "base/async/event.hpp"
#include "kube/event_store.hpp"
#include "kube/tls_server.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <boost/json.hpp>

namespace fallbackd::kube_test {

/// A pod as the API shows it, small: metadata with managedFields, spec with nodeName and one container.
std::string podJson(const std::string& name, const std::string& uid, const std::string& node = "node-1",
                    const std::string& image = "127.0.0.1:5999/shop/checkout:1.8.3");

class FakeApiServer final : public TlsServer {
 public:
  explicit FakeApiServer(const Leaf& leaf);
  ~FakeApiServer() override { stop(); }
  FakeApiServer(const FakeApiServer&) = delete;
  FakeApiServer& operator=(const FakeApiServer&) = delete;

  /// Creates or changes the pod; watchers are notified.
  void put(const std::string& pod);
  void remove(const std::string& uid);
  /// Creates or changes a namespace; watchers are notified, with its metadata alone.
  void putNamespace(const std::string& name, const std::map<std::string, std::string>& annotations = {});
  void removeNamespace(const std::string& name);
  void putOwner(const std::string& path, const std::string& object);
  void removeOwner(const std::string& path);
  /// Sends a bookmark to all watchers.
  void bookmark();
  /// Forgets the history up to now: a watch from an earlier version gets "gone".
  void compact();
  /// Whether "gone" is sent as an HTTP status or as an event.
  void sayGoneByStatus(bool by);
  /// Whether resourceVersion=0 is answered in pages; a real server sends everything at once.
  void pageEverything(bool page);
  /// The next requested page is "gone".
  void expireContinue();
  /// Later lists from the watch cache fail: "too large resource version".
  void failOldVersions(bool fail);

  enum class End : std::uint8_t { clean, cut, within_line, error_event, garbage };
  void endWatches(End how);
  /// Watches stay open but send nothing more.
  void silenceWatches(bool silent);

  /// In the order of their creation.
  [[nodiscard]] std::vector<boost::json::object> events();
  /// Runs `work` on the events: grants, expiry.
  void withEvents(std::function<void(EventStore&)> work);
  /// Applies to requests about events only. `after`: the event is written, and then the answer fails.
  enum class When : std::uint8_t { before, after };
  void troubleEvents(Trouble trouble, When when = When::before);
  /// POST and PATCH requests, as received.
  [[nodiscard]] std::vector<Seen> eventRequests();

  /// The number of watches of pods.
  [[nodiscard]] std::size_t watches();
  [[nodiscard]] std::size_t namespaceWatches();
  [[nodiscard]] std::uint64_t version();

 private:
  struct Happening {
    std::uint64_t version = 0;
    std::string type;
    boost::json::object object;
    bool ofNamespace = false;
  };

  boost::asio::awaitable<bool> respond(Stream& stream, Seen request) override;
  [[nodiscard]] bool mayChange(const std::string& path) const override {
    return EventStore::isEventsPath(path);
  }
  boost::asio::awaitable<bool> change(Stream& stream, Seen request);
  boost::asio::awaitable<bool> list(Stream& stream, Seen request);
  boost::asio::awaitable<bool> watch(Stream& stream, Seen request);
  boost::asio::awaitable<bool> refuse(Stream& stream, unsigned status, std::string message,
                                      std::string reason = "");
  std::string checked(const Seen& request);
  [[nodiscard]] std::string acceptOf(const Seen& request) const override;
  boost::json::array itemsOf(const std::string& node) const;
  [[nodiscard]] static bool isAsked(const Happening& event, const Seen& request);

  EventStore events_;
  Trouble eventTrouble_;
  When eventTroubleWhen_ = When::before;
  std::map<std::string, boost::json::object> pods_;        // by uid
  std::map<std::string, boost::json::object> namespaces_;  // by name, as PartialObjectMetadata
  std::map<std::string, std::string> owners_;
  std::vector<Happening> history_;
  std::uint64_t version_ = 100;
  std::uint64_t oldest_ = 0;
  bool goneByStatus_ = false;
  bool pages_ = false;
  bool continueGone_ = false;
  bool oldVersionsFail_ = false;
  bool silent_ = false;
  std::size_t watches_ = 0;
  std::size_t namespaceWatches_ = 0;
  std::uint64_t bookmarks_ = 0;
  std::uint64_t ends_ = 0;
  End end_ = End::clean;
  Event happened_;
};

}  // namespace fallbackd::kube_test
