// SPDX-License-Identifier: Apache-2.0
// The connected clients, and which of them to close when there are too many. Root's socket is counted
// separately: clients of the TCP address cannot take its places. One thread.
#pragma once

#include "base/clock.hpp"

#include <cstdint>
#include <functional>
#include <list>
#include <string>

namespace fallbackd::http {

class Clients {
 public:
  // Separately for the TCP address and for root's socket.
  static constexpr std::size_t kMaxClients = 128;
  static constexpr std::size_t kMaxListeners = 16;  // of events
  // Per client address.
  static constexpr std::size_t kMaxOfAddress = 32;
  // If addresses are limited, the last quarter of the places is for addresses with fewer clients than this,
  // so that a few busy addresses cannot keep out a probe or a scrape.
  static constexpr std::size_t kFewOfAddress = 4;

  struct Limits {
    std::size_t clients = kMaxClients;
    std::size_t ofAddress = kMaxOfAddress;
  };

  Clients() = default;
  explicit Clients(Limits limits) : limits_(limits) {}

  struct Client {
    std::string address;  // empty: the unix socket, whose clients are root's
    bool asking = true;   // its request is not complete: it may be closed to make room
    Stamp since;          // start of `asking`
    std::function<void()> close;
    bool listening = false;  // to events
    [[nodiscard]] bool isRoot() const { return address.empty(); }
  };
  using Place = std::list<Client>::iterator;

  /// Makes room for one more client of this address by closing the one that has been sending its request the
  /// longest. False if all are being answered; then the new client has to go.
  bool makeRoom(const std::string& address);

  /// Whether one more client may listen to events.
  [[nodiscard]] bool mayListen(const Client& client) const;

  Place add(Client client) { return all_.insert(all_.end(), std::move(client)); }
  void remove(Place place) { all_.erase(place); }
  [[nodiscard]] std::size_t size() const { return all_.size(); }

 private:
  bool closeOne(const std::function<bool(const Client&)>& among);

  Limits limits_;
  std::list<Client> all_;
};

}  // namespace fallbackd::http
