// SPDX-License-Identifier: Apache-2.0
// One client's connection: reads requests, checks who may ask for what, and writes the handlers' responses.
// On the server's thread.
#pragma once

#include "http/access.hpp"
#include "http/clients.hpp"
#include "http/server.hpp"
#include "http/stream.hpp"
#include "http/tls_files.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::http {

struct Route {
  Audience audience = Audience::holder;
  Handler handler;                  // either this
  std::unique_ptr<EventFeed> feed;  // or this
};

/// What all connections of a server share.
struct Site {
  Site(Options given, boost::asio::any_io_executor loop);

  /// Reads the token and the certificates again if they changed; Options::trouble is called for each that is
  /// not valid.
  void refreshFiles();

  Options options;
  boost::asio::any_io_executor executor;
  Token token;
  std::optional<TlsFiles> tls;
  std::map<std::string, Route> routes;
  std::map<std::string, Route> prefixes;
  Clients clients;
  bool loopbackOnly = true;
};

/// Text for people, with this status.
Response refusal(unsigned status, std::string body);
/// The same in the form of Options::refuse, if it is set.
Response refusal(const Site& site, unsigned status, std::string body);

/// Serves one request after the other until the client disconnects or its time is up; then its place is free.
boost::asio::awaitable<void> serveClient(std::shared_ptr<Site> site, std::unique_ptr<Stream> stream,
                                         Clients::Place place);

}  // namespace fallbackd::http
