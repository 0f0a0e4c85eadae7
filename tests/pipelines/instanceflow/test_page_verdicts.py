"""Reviewers on the InstanceFlow page: what they said is shown, and what they say there is a file that is taken."""

from dataclasses import replace
from pathlib import Path

import pipelines
from support.flow_pages import in_browser, look_at, show
from support.homes import TINY
from tracking.catalogue import resolve
from tracking.reading import connect

SAVE = """
    const done = arguments[0];
    const make = URL.createObjectURL;
    URL.createObjectURL = blob => { blob.text().then(done); return make.call(URL, blob); };
    document.querySelector("#own-verdicts button").click();"""
OPEN = "arguments[0].dispatchEvent(new MouseEvent('dblclick', { bubbles: true }))"


def open_first_row(browser) -> str:
    look_at(browser, "table-section")
    browser.execute_script(OPEN, browser.find_element("css selector", "#body .row"))
    look_at(browser, "detail")
    return browser.find_element("id", "detail-title").text


@in_browser
def test_verdicts_are_shown_given_and_taken(browser, tmp_path: Path, trained_home) -> None:
    home = trained_home(tmp_path, replace(TINY, epochs=1))
    run_id = resolve(home, "latest").run_id
    page = Path(pipelines.flow(run_id, home=home.path))
    show(browser, page)
    number = int(open_first_row(browser).removeprefix("Image ").partition(",")[0])
    assert browser.find_element("id", "verdicts-given").text == ""
    browser.find_element("xpath", "//button[.='label wrong']").click()
    select = browser.find_element("css selector", "#own-verdict select")
    names = [option.text for option in select.find_elements("tag name", "option")]
    select.send_keys(names[-1])
    saved = tmp_path / "saved.csv"
    saved.write_text(browser.execute_async_script(SAVE))
    assert saved.read_text().splitlines()[1].startswith(f"test,{number},label_wrong,{names[-1]},,")
    pipelines.verdict(run_id, str(saved), who="</script> Anna", home=home.path)
    with connect(home) as connection:
        sql = "select instance_id, verdict, new_label from current_verdicts(?)"
        assert connection.execute(sql, [run_id]).fetchall() == [(number, "label_wrong", int(names[-1]))]

    show(browser, Path(pipelines.flow(run_id, home=home.path)))
    open_first_row(browser)
    expected = f"Reviewers: </script> Anna: label wrong, is {names[-1]}"
    assert browser.find_element("id", "verdicts-given").text == expected
    pressed = browser.find_elements("css selector", "#own-verdict [aria-pressed=true]")
    assert [button.text for button in pressed] == ["label wrong"]  # kept by the browser
    pressed[0].click()
    assert browser.find_elements("css selector", "#own-verdict [aria-pressed=true]") == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
