// fallbackctl status: asks the daemon over its root-only socket.
#include "app/ctl/commands.hpp"
#include "app/ctl/output.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace json = boost::json;
using Stream = beast::basic_stream<asio::local::stream_protocol>;

struct StatusOptions {
  std::string socket = "/run/fallbackd/fallbackd.sock";
  std::string format = "table";
};

/// Runs one asynchronous step to its end; basic_stream's time limit holds for those only.
template <class Start>
boost::system::error_code step(asio::io_context& loop, Stream& stream, Start start) {
  boost::system::error_code result;
  stream.expires_after(std::chrono::seconds(5));
  start([&](boost::system::error_code error, auto...) { result = error; });
  loop.restart();
  loop.run();
  return result;
}

Result<std::string> ask(const std::string& socket) {
  asio::io_context loop;
  Stream stream(loop);
  const asio::local::stream_protocol::endpoint endpoint(socket);
  auto error = step(loop, stream, [&](auto done) { stream.async_connect(endpoint, done); });
  if (error) {
    return fail(Stage::cli, Reason::unavailable,
                "connect to " + socket + " (is fallbackd running here, and are you root?)", error.value());
  }
  http::request<http::empty_body> request(http::verb::get, "/status", 11);
  request.set(http::field::host, "fallbackd");
  request.keep_alive(false);
  error = step(loop, stream, [&](auto done) { http::async_write(stream, request, done); });
  http::response<http::string_body> response;
  beast::flat_buffer buffer;
  if (!error)
    error = step(loop, stream, [&](auto done) { http::async_read(stream, buffer, response, done); });
  if (error) return fail(Stage::cli, Reason::protocol, "ask " + socket + ": " + error.message());
  return std::move(response.body());
}

std::string text(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr) return "-";
  if (const auto* string = value->if_string()) return std::string(*string);
  return json::serialize(*value);
}

std::string millis(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr) return "-";
  std::array<char, 32> buffer{};
  const int size = std::snprintf(buffer.data(), buffer.size(), "%.1f ms", value->to_number<double>());
  return {buffer.data(), static_cast<std::size_t>(size)};
}

/// Pods that wait without a fallback, and why.
void printWaiting(const json::array& waiting) {
  if (waiting.empty()) return;
  std::vector<std::vector<std::string>> rows{
      {"WAITING", "NAMESPACE", "CONTAINER", "IMAGE", "STATE", "CAUSE", "TEXT"}};
  for (const auto& item : waiting) {
    const auto& one = item.as_object();
    rows.push_back({text(one, "pod"), text(one, "namespace"), text(one, "container"), text(one, "image"),
                    text(one, "state"), text(one, "cause"), text(one, "text")});
  }
  printTable(rows);
}

void printRegistries(const json::array& registries) {
  if (registries.empty()) return;
  std::vector<std::vector<std::string>> rows{{"REGISTRY", "CIRCUIT", "CAUSE", "TEXT"}};
  for (const auto& item : registries) {
    const auto& one = item.as_object();
    rows.push_back({text(one, "host"), text(one, "state"), text(one, "cause"), text(one, "text")});
  }
  printTable(rows);
}

void printStatus(const json::object& root) {
  const auto& containerd = root.at("containerd").as_object();
  const auto& config = root.at("config").as_object();
  std::printf(
      "fallbackd %s on %s: containerd %s, %zu workloads, %s waiting%s\n", text(root, "version").c_str(),
      text(root, "node").c_str(), containerd.at("connected").as_bool() ? "connected" : "NOT CONNECTED",
      root.at("workloads").as_array().size(), std::to_string(root.at("waiting").as_array().size()).c_str(),
      config.at("current").as_bool() ? ""
                                     : "; THE CONFIGURATION ON DISK IS REFUSED, an earlier one is in use");
  printRegistries(root.at("registries").as_array());
  printWaiting(root.at("waiting").as_array());
  const auto& recoveries = root.at("recoveries").as_array();
  if (recoveries.empty()) {
    std::printf("no recoveries since the start\n");
    return;
  }
  std::vector<std::vector<std::string>> rows{{"RECOVERY", "STATE", "NAMESPACE", "POD", "CONTAINER", "BINARY",
                                              "CAUSE", "DETECTED", "STARTED", "READY", "ERROR"}};
  for (const auto& item : recoveries) {
    const auto& one = item.as_object();
    const auto& phases = one.at("sinceWaitingMs").as_object();
    const auto* error = one.if_contains("error");
    rows.push_back({text(one, "id"), text(one, "state"), text(one, "namespace"), text(one, "pod"),
                    text(one, "container"), text(one, "binary"), text(one, "cause"),
                    millis(phases, "detected"), millis(phases, "started"), millis(phases, "ready"),
                    error == nullptr ? "" : text(error->as_object(), "message")});
  }
  printTable(rows);
}

int show(const StatusOptions& options) {
  const auto body = ask(options.socket);
  if (!body) return complain(body.error());
  if (options.format == "json") {
    std::printf("%s", body->c_str());
    return kOk;
  }
  json::error_code error;
  const auto value = json::parse(*body, error);
  if (error || !value.is_object()) {
    complain("the daemon's answer is not the JSON that this fallbackctl knows");
    return kFailed;
  }
  printStatus(value.get_object());
  return kOk;
}

}  // namespace

void addStatus(CLI::App& app, Run& run) {
  auto options = std::make_shared<StatusOptions>();
  auto* command = app.add_subcommand("status", "show what fallbackd on this node does");
  command->add_option("--socket", options->socket, "fallbackd's socket")->capture_default_str();
  command->add_option("-o,--output", options->format, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->callback([options, &run] { run = [options] { return show(*options); }; });
}

}  // namespace fallbackd::ctl
