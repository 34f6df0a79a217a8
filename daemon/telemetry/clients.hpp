// The connected clients, and which of them to close when there are too many. Root's socket has its own room:
// whatever clients of the address do, they take none of it. One thread.
#pragma once

#include "base/clock.hpp"

#include <cstdint>
#include <functional>
#include <list>
#include <string>

namespace fallbackd::telemetry {

class Clients {
 public:
  // Of the address, and once more of root's socket.
  static constexpr std::size_t kMost = 128;
  static constexpr std::size_t kMostListeners = 16;  // of events
  // Of one client's address.
  static constexpr std::size_t kMostOfAddress = 32;

  struct Client {
    std::string address;  // empty: the unix socket, whose clients are root's
    bool asking = true;   // its request has not come yet: it may be closed for another
    Stamp since;          // of `asking`
    std::function<void()> close;
    bool listening = false;  // to events
    [[nodiscard]] bool isRoot() const { return address.empty(); }
  };
  using Place = std::list<Client>::iterator;

  /// Makes room for one more of this address: where there is none, who has been asking the longest is closed.
  /// False where all are being answered; then the new one has to go.
  bool makeRoom(const std::string& address);

  /// Whether one more may listen to events.
  [[nodiscard]] bool mayListen(const Client& client) const;

  Place add(Client client) { return all_.insert(all_.end(), std::move(client)); }
  void remove(Place place) { all_.erase(place); }
  [[nodiscard]] std::size_t size() const { return all_.size(); }

 private:
  bool closeOne(const std::function<bool(const Client&)>& among);

  std::list<Client> all_;
};

}  // namespace fallbackd::telemetry
